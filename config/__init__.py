"""Settings, Celery configuration and logging: read once, frozen, passed down. Knows neither `tasks` nor `watcher`."""
