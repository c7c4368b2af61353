"""Where images come from: folders, tables, archives and packaged sets, each as one list of samples with splits."""
