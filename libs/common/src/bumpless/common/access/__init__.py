"""Who may do what at the broker: identities, their keys, and the server's configuration made of both."""
