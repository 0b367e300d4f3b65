"""The types of `@task`, for type checkers; what it does is in `task`.

Two things are read off a function: whether it is `async` (the result is what is awaited), and whether
its first parameter takes a Context (which callers do not pass). A Context further back cannot be left
out of a ParamSpec; give it a default there: `*, ctx: Context = Context.injected`. With `batch=` the function
takes a list, and callers pass one element of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

    from openqueue.tasks.batch import Batch
    from openqueue.tasks.context import Context
    from openqueue.tasks.options import TaskWords
    from openqueue.tasks.task import Task

    P = ParamSpec("P")
    R = TypeVar("R")
    T = TypeVar("T")
    F = TypeVar("F", bound=Callable[..., Any])

    class Whatever:
        """Only a first parameter that accepts any value accepts this: its arguments stay unchecked."""

    class DeclaredTask(Task[P, R], Generic[P, R, F]):
        """A task of which the exact type of its function is known."""

        function: F

        @property
        def __call__(self) -> F: ...

    Async = Coroutine[Any, Any, R]
    Unchecked = DeclaredTask[..., R, Callable[..., Any]]
    Coroutines = DeclaredTask[P, R, Callable[P, Async[R]]]
    CoroutinesWithContext = DeclaredTask[P, R, Callable[Concatenate[Context, P], Async[R]]]
    Functions = DeclaredTask[P, R, Callable[P, R]]
    FunctionsWithContext = DeclaredTask[P, R, Callable[Concatenate[Context, P], R]]

    class Decorator(Protocol):
        """What `@task(...)` returns: the overloads of `task` without options."""

        @overload
        def __call__(self, function: Callable[Concatenate[Whatever, P], Async[R]], /) -> Unchecked[R]: ...
        @overload
        def __call__(self, function: Callable[Concatenate[Whatever, P], R], /) -> Unchecked[R]: ...
        @overload
        def __call__(  # type: ignore[overload-overlap]  # the first that fits is meant
            self, function: Callable[Concatenate[Context, P], Async[R]], /
        ) -> CoroutinesWithContext[P, R]: ...
        @overload
        def __call__(self, function: Callable[P, Async[R]], /) -> Coroutines[P, R]: ...
        @overload
        def __call__(
            self, function: Callable[Concatenate[Context, P], R], /
        ) -> FunctionsWithContext[P, R]: ...
        @overload
        def __call__(self, function: Callable[P, R], /) -> Functions[P, R]: ...

    Answers = Sequence[R | Exception]
    One = DeclaredTask[[T], R, F]
    Listed = Callable[[list[T]], R]
    ListedWithContext = Callable[[Context, list[T]], R]

    class BatchDecorator(Protocol):
        """What `@task(batch=...)` returns: enqueued with one item, called with a list of them."""

        @overload
        def __call__(
            self, function: ListedWithContext[T, Async[None]], /
        ) -> One[T, None, ListedWithContext[T, Async[None]]]: ...
        @overload
        def __call__(self, function: Listed[T, Async[None]], /) -> One[T, None, Listed[T, Async[None]]]: ...
        @overload
        def __call__(
            self, function: ListedWithContext[T, Async[Answers[R]]], /
        ) -> One[T, R, ListedWithContext[T, Async[Answers[R]]]]: ...
        @overload
        def __call__(
            self, function: Listed[T, Async[Answers[R]]], /
        ) -> One[T, R, Listed[T, Async[Answers[R]]]]: ...
        @overload
        def __call__(
            self, function: ListedWithContext[T, None], /
        ) -> One[T, None, ListedWithContext[T, None]]: ...
        @overload
        def __call__(self, function: Listed[T, None], /) -> One[T, None, Listed[T, None]]: ...
        @overload
        def __call__(
            self, function: ListedWithContext[T, Answers[R]], /
        ) -> One[T, R, ListedWithContext[T, Answers[R]]]: ...
        @overload
        def __call__(self, function: Listed[T, Answers[R]], /) -> One[T, R, Listed[T, Answers[R]]]: ...

    @overload
    def task(function: Callable[Concatenate[Whatever, P], Async[R]], /) -> Unchecked[R]: ...
    @overload
    def task(function: Callable[Concatenate[Whatever, P], R], /) -> Unchecked[R]: ...
    @overload
    def task(  # type: ignore[overload-overlap]  # the first that fits is meant
        function: Callable[Concatenate[Context, P], Async[R]], /
    ) -> CoroutinesWithContext[P, R]: ...
    @overload
    def task(function: Callable[P, Async[R]], /) -> Coroutines[P, R]: ...
    @overload
    def task(function: Callable[Concatenate[Context, P], R], /) -> FunctionsWithContext[P, R]: ...
    @overload
    def task(function: Callable[P, R], /) -> Functions[P, R]: ...
    @overload
    def task(**options: Unpack[TaskWords]) -> Decorator: ...
    @overload
    def task(*, batch: Batch, **options: Unpack[TaskWords]) -> BatchDecorator: ...
    def task(function: Any = None, /, **options: Any) -> Any:
        """Make a function a task: `@task`, or `@task(queue="mail", max_attempts=10)`."""
