"""Outbound HTTP that is safe against any URL: the only client for links that strangers wrote.

Promises: only public addresses are dialled, whatever a URL, a name or a redirect says; every URL ends, in time and in
bounded memory, as a body or a Reason. ``fetch`` is the door; the address table, the limits and the meaning of answers
lie in their own modules. Leaves to others: looking at what came (image), and calls to known services.
"""

from custodes.net.address import AddressGuard
from custodes.net.fetch import Fetched, Fetcher, FetchStats, fetch_all
from custodes.net.limits import FetchLimits

__all__ = ["AddressGuard", "FetchLimits", "FetchStats", "Fetched", "Fetcher", "fetch_all"]
