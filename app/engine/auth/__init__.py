"""What is needed to know who somebody is: passwords, keys of issuers, and where they come from."""
