#!/usr/bin/env bash
# A worker in bash and SQL; all it needs is psql:  OPENQUEUE_DATABASE_URL=postgresql://… bash 14_worker_in_bash.sh
# Each call has a connection of its own, so the worker lives by a lease: it is dead to the others when it has not beaten for LEASE
# seconds. Sent twice, no call here does anything twice: what a broken connection leaves open is asked again.
set -muo pipefail # -m: each job is a group of processes, to be stopped as one
lease=${LEASE:-15} worker='' claim=0 job='' stop=''
out=$(mktemp) err=$(mktemp)

# The tasks: a function gets its arguments as JSON, and prints its result.
shell.shout() { value text "$1" | tr '[:lower:]' '[:upper:]'; }
shell.nap() { sleep "$(value seconds "$1")" && echo rested; }
shell.fail() { echo "there is no $(value what "$1")" >&2 && return 1; }
tasks='{shell.shout,shell.nap,shell.fail}'

sql() { # sql 'SELECT …' name=value…: the values are :'name' in it. While there is no server, it asks again, unless the worker was killed.
    local statement=$1 code pairs=(-v worker="$worker" -v lease="$lease seconds")
    for pair in "${@:2}"; do pairs+=(-v "$pair"); done
    until psql -XqAt -v ON_ERROR_STOP=1 "${pairs[@]}" "$OPENQUEUE_DATABASE_URL" <<<"SET search_path = openqueue; $statement"; do
        code=$?
        ((code == 2)) && kill -0 $$ 2>/dev/null || return "$code"
        sleep 1
    done
}
value() { sql "SELECT :'payload'::jsonb ->> :'key'" key="$1" payload="$2"; }

beat() { # While the job runs. It stops the job when the run is cancelled or lost, and when this worker was killed.
    while sleep "$((lease / 3))"; do
        if kill -0 $$ 2>/dev/null && [[ $(sql "SELECT extend_claim(:'worker', :'id', :'claim', :'lease')" "$@") == held ]]; then
            sql "SELECT count(*) FROM rescue(:'worker')" >/dev/null
        else
            kill -- "-$job" 2>/dev/null
            return
        fi
    done
}

work() { # work id claim task payload
    "$3" "$4" >"$out" 2>"$err" &
    job=$!
    [[ $stop ]] && kill -- "-$job" 2>/dev/null # told so just now, when the job was not there yet
    beat id="$1" claim="$2" >/dev/null &
    local beating=$! verdict
    if wait "$job"; then
        verdict=$(sql "SELECT complete_job(:'worker', :'id', :'claim', to_jsonb(:'output'::text))" id="$1" claim="$2" output="$(<"$out")")
    elif [[ ! $stop ]]; then
        verdict=$(sql "SELECT fail_job(:'worker', :'id', :'claim', :'error')" id="$1" claim="$2" error="$(tail -c 4000 "$err")")
    fi
    { kill -- "-$beating" && wait "$beating"; } 2>/dev/null # with the sleep it is in, and without bash saying so
    echo "$3 $1 ${verdict:-released}"
}

trap 'stop=1; [[ $job ]] && kill -- "-$job" 2>/dev/null' TERM INT
worker=$(sql "SELECT start_worker('bash', lease => :'lease')") || exit
echo "worker $worker"
while [[ ! $stop ]]; do
    sql "SELECT known FROM heartbeat(:'worker', :'lease'); SELECT count(*) FROM rescue(:'worker')" >/dev/null
    found=$(sql "SELECT id, claim, task, payload FROM get_job(:'worker', :'tasks', claim_number => :'number')" \
        tasks="$tasks" number="$((++claim))") || exec bash "$0" # given up for dead: begin anew
    IFS='|' read -r id number task payload <<<"$found"
    if [[ $stop ]]; then break; elif [[ $id ]]; then work "$id" "$number" "$task" "$payload"; else sleep 1; fi
done
sql "SELECT leave_worker(:'worker')" >/dev/null # what it holds goes back, uncounted
rm -f "$out" "$err"
