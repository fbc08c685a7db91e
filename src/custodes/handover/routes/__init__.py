"""The ways by which incidents go out: each a ``Route`` of ``handover.delivery``."""
