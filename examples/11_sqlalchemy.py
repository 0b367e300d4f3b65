"""A job in the transaction of a SQLAlchemy session, here on psycopg."""

import os

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from tasks.orders import thank


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders_11"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]


engine = create_engine(os.environ["OPENQUEUE_DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))
Base.metadata.drop_all(engine)
Base.metadata.create_all(engine)

for customer in ("Ada", ""):
    try:
        with Session(engine) as session, session.begin():
            session.add(Order(id=1, customer=customer))
            run = thank.options(connection=session).enqueue_sync(order=1, customer=customer)
            if not customer:
                raise ValueError("nobody ordered")
        print("committed:", run.result_sync(timeout="30s"))
    except ValueError as error:
        print("rolled back:", error)
