"""The gateway: a guarded door in front of a generator. Requests are screened, images are checked before they leave, faults withhold."""
