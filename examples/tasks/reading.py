from collections import Counter

from openqueue import Context, task


@task
def most_common(ctx: Context, text: str) -> str:
    """A plain function: it runs in a thread, so it may block."""
    words: Counter[str] = Counter()
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            ctx.log.warning("an empty line", line=number)
        words.update(line.lower().split())
        ctx.progress({"lines": {"read": number, "of": len(lines)}})
    ((word, times),) = words.most_common(1)
    ctx.log.info("counted", words=words.total(), different=len(words))
    return f"{word} ({times} times)"
