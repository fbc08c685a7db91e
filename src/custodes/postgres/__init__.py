"""PostgreSQL, for what several machines share: connections, transactions, migrations. What is stored in it is its users' affair."""
