#!/bin/sh
# What is watched, and how: the doctor, top, metrics. Here somebody has paused a queue, and forgets it.

openqueue queues pause parcels --reason "the year ends" > /dev/null 2>&1
openqueue enqueue hello.greet '{"name": "Ada"}' --queue parcels > /dev/null

openqueue doctor --only pauses                # what, why it matters, and the command that mends it
echo "exit code $?"                           # 9 a warning, 10 critical: for Nagios, cron, Kubernetes

openqueue top --once --queue parcels | awk '$1 == "parcels" { print $1, "ready:", $2 }'

openqueue queues resume parcels > /dev/null   # as the doctor says
openqueue doctor --only pauses && echo "exit code $?"

openqueue metrics | awk '/openqueue_queue_jobs / { print $1, $2 }'   # what Prometheus has of `worker --metrics`
