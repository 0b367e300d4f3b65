"""`openqueue completion`: the script that lets a shell complete our commands when Tab is pressed.

All three ask us in the same way: with the line up to the cursor in a variable, for lines of a word and what
it means. Words come from the database, where anyone who may enqueue names queues: a script never evaluates
them, and what it inserts is quoted.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from openqueue.cli.options import examples
from openqueue.errors import InvalidOption, did_you_mean

__all__ = ["SCRIPTS", "group"]

group = typer.Typer(add_completion=False)


_BASH = r"""
_openqueue() {
    local line="${COMP_LINE:0:COMP_POINT}" word value quoted
    word="${line##* }"
    # Bash takes what stands before a : or = for a word of its own, and replaces only what follows.
    local before="${word%"${word##*:}"}"
    COMPREPLY=()
    while IFS=$'\t' read -r value _; do
        [[ -n $value ]] || continue
        printf -v quoted %q "${value#"$before"}"
        COMPREPLY+=("$quoted")
    done < <(env _OPENQUEUE_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \
        _TYPER_COMPLETE_ARGS="$line" "$1" 2>/dev/null)
}
complete -o default -F _openqueue openqueue
"""

_ZSH = r"""#compdef openqueue
_openqueue() {
    local -a found
    local value help
    while IFS=$'\t' read -r value help; do
        [[ -n $value ]] && found+=("${${value//\\/\\\\}//:/\\:}${help:+:$help}")
    done < <(env _OPENQUEUE_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \
        _TYPER_COMPLETE_ARGS="${(j: :)words[1,CURRENT-1]} $PREFIX" "${(Q)words[1]}" 2>/dev/null)
    [[ $PREFIX == --*=* ]] && compset -P '*='
    if (( $#found )); then _describe openqueue found; else _files; fi
}
if [[ $funcstack[1] == _openqueue ]]; then
    _openqueue "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _openqueue openqueue
fi
"""

_FISH = r"""
function __openqueue_complete
    set -l found (env _OPENQUEUE_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \
        _TYPER_COMPLETE_ARGS=(commandline -cp | string join ' ') openqueue 2>/dev/null)
    set -l option (string match -r -- '^--[^=]*=' (commandline -ct))
    if test -n "$found[1]"
        printf '%s\n' "$option"$found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete --command openqueue --no-files --arguments '(__openqueue_complete)'
"""

SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""By shell."""


@group.command(
    "completion",
    epilog=examples(
        "source <(openqueue completion bash)    # in ~/.bashrc",
        "source <(openqueue completion zsh)     # in ~/.zshrc",
        "openqueue completion fish | source     # in ~/.config/fish/config.fish",
    ),
)
def completion(
    shell: Annotated[
        str,
        typer.Argument(
            metavar="SHELL", help="bash, zsh or fish.", show_default=False, autocompletion=lambda: [*SCRIPTS]
        ),
    ],
) -> None:
    """Print the script by which Tab completes commands, tasks and queues in a shell."""
    if shell not in SCRIPTS:
        near = did_you_mean(shell, SCRIPTS) or f" Known are {', '.join(SCRIPTS)}."
        raise InvalidOption(f"SHELL: there is no script for {shell!r}.{near}", option="SHELL")
    print(SCRIPTS[shell].lstrip("\n"), end="")
