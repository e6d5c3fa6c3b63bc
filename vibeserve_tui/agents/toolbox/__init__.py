"""The tools of agents that act through tool calls: each a small file, put together by role in `kit.py`.

Rights follow from which tools a role is given and from what those can reach, never from what a prompt says. Whatever
runs code runs in the launcher's box.
"""
