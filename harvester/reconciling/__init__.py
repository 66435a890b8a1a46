"""Three lists of the same calls, compared: the vendor's, ours and the customer's dialer's."""
