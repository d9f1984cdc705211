"""Handlers that were written for other runners, as functions of this one."""
