"""Several processes that train together: how they are started, and how one joins the others."""
