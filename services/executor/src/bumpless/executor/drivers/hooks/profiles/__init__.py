"""The profiles that come with Bumpless, one module each (docs/hooks.md says what each promises)."""

from __future__ import annotations

from collections.abc import Mapping

from bumpless.common.model.hooks import ProfileName
from bumpless.executor.drivers.hooks.profiles import celery, gunicorn, haproxy, nginx, node_cluster, uvicorn
from bumpless.executor.drivers.hooks.profiles.recipe import Profiled

PROFILES: Mapping[ProfileName, Profiled] = {
    ProfileName.CELERY: celery.recipe,
    ProfileName.GUNICORN: gunicorn.recipe,
    ProfileName.HAPROXY: haproxy.recipe,
    ProfileName.NGINX: nginx.recipe,
    ProfileName.NODE_CLUSTER: node_cluster.recipe,
    ProfileName.UVICORN: uvicorn.recipe,
}
