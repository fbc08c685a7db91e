"""What authorities receive: findings, sealed to them."""
