"""Follows a store: keeps everything that proxies need up to date."""
