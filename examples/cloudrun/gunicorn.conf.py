"""gunicorn's settings. It finds this file in the current directory, and the PORT that Cloud Run sets by itself."""

# A worker is a process: Python code runs on as many cores at a time as there are. Two, for `--cpu 2`.
workers = 2

# Requests that wait for memcached or Datastore wait in threads. Cloud Run sends an instance up to 80 requests at a time
# (`--concurrency`), and none of them should have to wait for a thread: workers * threads.
worker_class = "gthread"
threads = 40

# Each worker loads the application, and so gRPC, after the fork. Under preload_app the sessions would do too, since
# DatastoreStore connects at its first use, but whatever else uses gRPC at import would hang in the workers.
preload_app = False

# A worker that does not show for so many seconds that it is alive is killed. None is: between requests Cloud Run gives
# an instance no CPU to show it with.
timeout = 0

# Ten seconds after it has asked an instance to end Cloud Run kills it; requests that are under way may take so many.
graceful_timeout = 8

# For `gunicornc`, which nobody can run in there.
control_socket_disable = True
