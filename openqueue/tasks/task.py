"""`@task`: a function that can also be enqueued."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import update_wrapper
from inspect import cleandoc, iscoroutinefunction, unwrap
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from openqueue.errors import InvalidOption, InvalidTask
from openqueue.tasks import enqueuer as enqueuers
from openqueue.tasks.arguments import Arguments
from openqueue.tasks.declared import declare
from openqueue.tasks.enqueuer import Item
from openqueue.tasks.habits import enqueued_here
from openqueue.tasks.keys import check_key_function, key_of
from openqueue.tasks.naming import Roots, roots, source_file, task_name
from openqueue.tasks.options import NO_OPTIONS, EnqueueOptions, TaskOptions

if TYPE_CHECKING:
    from typing import Unpack

    from openqueue.runs.model import Run
    from openqueue.tasks.decorator import task
    from openqueue.tasks.options import EnqueueWords


__all__ = ["Configured", "Task", "task"]

P = ParamSpec("P")
R = TypeVar("R")


class Task(Generic[P, R]):
    """A declared task; calling it calls the function, here and now.

    function    the function itself
    defaults    its TaskOptions: what holds for a run unless the enqueue says otherwise
    arguments   the contract of its arguments and its result
    is_async    whether the function is `async def`; `in_thread` and `in_process`: where the others run
    module      the module in which it was declared
    """

    def __init__(
        self,
        function: Callable[..., Any],
        defaults: TaskOptions,
        local: Mapping[str, Any] | None = None,
    ) -> None:
        self.arguments = Arguments(function, local, batch=defaults.batch is not None)
        self.function = function
        self.defaults = defaults
        self.is_async = iscoroutinefunction(function)
        self.in_process = defaults.executor == "process"
        self.in_thread = not (self.is_async or self.in_process)
        self.module = function.__module__
        self._name = defaults.name or ""
        self._named_by: Roots | None = None
        update_wrapper(self, function)

    @property
    def name(self) -> str:
        """The name it is stored under: its `name=`, else by file and function (see `naming`)."""
        if self._named_by is not (now := roots()):
            self._name = self.defaults.name or task_name(self._source)
            self._named_by = now
        return self._name

    @property
    def description(self) -> str:
        """Its `description=`, else the first paragraph of the docstring."""
        return self.defaults.description or cleandoc(self.function.__doc__ or "").partition("\n\n")[0]

    @property
    def place(self) -> str:
        """Where it was written, as `file:line`."""
        code = getattr(self._source, "__code__", None)
        return f"{source_file(self._source)}:{code.co_firstlineno if code else '?'}"

    def is_of(self, module: ModuleType) -> bool:
        """Whether it was declared in this module; one that was loaded twice is two modules."""
        return getattr(self._source, "__globals__", None) is vars(module)

    if not TYPE_CHECKING:  # a type checker finds out by itself what there is not

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}.{enqueued_here(name)}",
                name=name,
                obj=self,
            )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself; nothing is enqueued."""
        return self.function(*args, **kwargs)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Run[R]]:
        """Enqueue a run with these arguments.

        `connection=` is taken too (unless the task has such an argument) and means the caller's
        transaction; type checkers want it in `options(connection=...)`. Raises InvalidArguments,
        NotSerializable or TooLarge for the arguments; ConnectionFailed and SchemaError.
        """
        return _named(self, _enqueue(self, NO_OPTIONS, None, args, kwargs))

    def enqueue_sync(self, *args: P.args, **kwargs: P.kwargs) -> Run[R]:
        """The same for code that cannot await: it blocks until the run is stored.

        `connection=` is then one of a synchronous driver, and is used in place, by the calling thread.
        """
        return _enqueue_sync(self, NO_OPTIONS, None, args, kwargs)

    def options(self, **options: Unpack[EnqueueWords]) -> Configured[P, R]:
        """The task with options for what is enqueued next; see EnqueueOptions. Raises InvalidOption."""
        given: dict[str, Any] = dict(options)
        connection = given.pop("connection", None)
        return Configured(self, EnqueueOptions.of(**given), connection)

    def item(self, *args: P.args, **kwargs: P.kwargs) -> Item[R]:
        """A run to be, for `enqueue_many`; the arguments are validated now."""
        return _item(self, NO_OPTIONS, args, kwargs)

    @property
    def _source(self) -> Callable[..., Any]:
        source: Callable[..., Any] = unwrap(self.function)
        return source

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def __reduce__(self) -> str:
        """Pickled as a reference to the module's name for it, like a function."""
        return self.function.__qualname__


class Configured(Generic[P, R]):
    """A task with options for what is enqueued through it; may be kept and used again."""

    __slots__ = ("_connection", "_options", "_task")

    def __init__(self, task: Task[P, R], options: EnqueueOptions, connection: object | None = None) -> None:
        self._task = task
        self._options = options
        self._connection = connection

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Run[R]]:
        """Enqueue a run with these arguments and the options; raises as `Task.enqueue`."""
        return _named(self._task, _enqueue(self._task, self._options, self._connection, args, kwargs))

    def enqueue_sync(self, *args: P.args, **kwargs: P.kwargs) -> Run[R]:
        """The same for code that cannot await; see `Task.enqueue_sync`."""
        return _enqueue_sync(self._task, self._options, self._connection, args, kwargs)

    def item(self, *args: P.args, **kwargs: P.kwargs) -> Item[R]:
        """A run to be with the options, for `enqueue_many`, which takes the connection for all of them."""
        if self._connection is not None:
            raise InvalidOption(
                "connection: an item has none of its own. Give it to the call that enqueues the item.",
                option="connection",
            )
        return _item(self._task, self._options, args, kwargs)


def _named(task: Task[..., Any], enqueueing: Coroutine[Any, Any, R]) -> Coroutine[Any, Any, R]:
    """Where `await` was forgotten, Python's warning then has the task's name."""
    coroutine: Any = enqueueing
    coroutine.__qualname__ = f"{task.name}.enqueue"
    return enqueueing


async def _enqueue(
    task: Task[..., R],
    options: EnqueueOptions,
    connection: object | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Run[R]:
    item, connection = _made(task, options, connection, args, kwargs)
    taker = enqueuers.current.get() or await enqueuers.enqueuer()
    return await taker.enqueue(item, connection=connection)


def _enqueue_sync(
    task: Task[..., R],
    options: EnqueueOptions,
    connection: object | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Run[R]:
    item, connection = _made(task, options, connection, args, kwargs)
    return enqueuers.sync_enqueuer().enqueue(item, connection=connection)


def _made(
    task: Task[..., R],
    options: EnqueueOptions,
    connection: object | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Item[R], object | None]:
    if "connection" in kwargs and not task.arguments.takes("connection"):
        connection = kwargs.pop("connection")
    return _item(task, options, args, kwargs), connection


def _item(
    task: Task[..., R], options: EnqueueOptions, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Item[R]:
    item = Item(task, task.arguments.bind(args, kwargs), options)
    if task.defaults.concurrency_key is not None and options.concurrency_key is None:
        item.concurrency_key = key_of(task, item.input)
    return item


if not TYPE_CHECKING:

    def task(function=None, /, **options):
        """Make a function a task: `@task`, or `@task(queue="mail", max_attempts=10)`.

        Options: name, queue, priority, max_attempts, backoff, timeout, deadline, tags, meta, retry_on,
        give_up_on, aliases, description, executor, middleware, concurrency_key, key_concurrency, on_failure,
        batch; see TaskOptions. Raises InvalidTask and InvalidOption.
        """
        around = sys._getframe(1)
        if function is not None:
            return _declare(function, TaskOptions.of(**options), around)
        checked = TaskOptions.of(**options)
        return lambda function: _declare(function, checked, around)


def _declare(function: Callable[..., Any], options: TaskOptions, around: FrameType) -> Task[..., Any]:
    is_local = "<locals>" in getattr(function, "__qualname__", "")
    made: Task[..., Any] = Task(function, options, dict(around.f_locals) if is_local else None)
    made.module = around.f_globals.get("__name__", made.module)
    _check_executor(made, is_local=is_local)
    check_key_function(made)
    declare(made)
    return made


def _check_executor(task: Task[..., Any], *, is_local: bool) -> None:
    """Refuse an executor that the function cannot have. Raises InvalidTask."""
    if task.defaults.executor and task.is_async:
        raise InvalidTask(
            f"{task.name}: executor={task.defaults.executor!r} is for `def` tasks, and this one is"
            " `async def`, which runs in the event loop. Leave one of them out."
        )
    if task.in_process and task.defaults.batch:
        raise InvalidTask(
            f"{task.name}: executor='process' cannot be together with batch=: a process answers with one"
            " outcome, not with one for each item. Leave one of them out."
        )
    if task.in_process and is_local:
        raise InvalidTask(
            f"{task.name}: executor='process' is for tasks at the top of a module: the process finds them by"
            " importing it, and this one is declared inside a function. Move it out."
        )
