"""Files from elsewhere: whole and verified or not there; from a server, a mirror, or a carried archive."""
