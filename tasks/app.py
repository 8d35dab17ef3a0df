"""Makes the Celery app from settings: the publisher's for the watcher, the worker's for tasks/celery.py.

Nothing is read here but the settings that are passed in. What a reader would get wrong: the two apps differ on
purpose, see config/celery.py.
"""

from celery import Celery

from config import celery as celery_settings
from config.settings import Settings
from tasks.broker_guard import guard_redis_channels
from tasks.pool_guard import guard_pool_counters


def make_publisher(settings: Settings) -> Celery:
    """An app that can only publish: no result store, no tasks, short time limits."""
    return _make(celery_settings.publisher(settings))


def make_worker_app(settings: Settings) -> Celery:
    """The app of a worker unit, without its tasks (tasks/celery.py adds them)."""
    guard_redis_channels()
    guard_pool_counters()
    return _make(celery_settings.worker(settings))


def _make(configuration: dict[str, object]) -> Celery:
    app = Celery("thumbdrop", set_as_current=False)
    app.config_from_object(configuration)
    return app
