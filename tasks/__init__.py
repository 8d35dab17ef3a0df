"""The worker's side: what an arrival is, and how one becomes thumbnails.

`celery -A tasks` finds its app in tasks/celery.py.
"""
