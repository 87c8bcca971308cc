"""Tasks that write down that they were done, and by which version."""

import os
import time

import redis
from celery import Celery

URL = os.environ["TASKS_REDIS"]  # unix:///PATH

app = Celery("tasks", broker="redis+socket" + URL.removeprefix("unix"))
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)


@app.task(name="work")
def work(number):
    time.sleep(0.05)  # noqa: TID251 - work that takes its time
    redis.Redis.from_url(URL).rpush("done", f"{number} {os.environ['BUMPLESS_VERSION']}")
