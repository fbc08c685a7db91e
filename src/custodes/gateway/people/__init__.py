"""People: who may ask and how much, what was decided and is kept of it, strikes and how they are taken back, counts, and the gateway's card."""
