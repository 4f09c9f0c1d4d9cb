"""The only floor that touches the hub, registers hooks and tokenises."""
