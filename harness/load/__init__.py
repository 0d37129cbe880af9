"""Load by locust, which is closed-loop: a user asks again only after its answer. It makes load; verdicts on latency and availability
come from the open-loop probes.

locust patches the process that imports it, so it is only ever imported in processes of its own: `master`, `worker`, `users`,
`shaped` and `locustfiles` here belong to those, and nothing else may import them.
"""
