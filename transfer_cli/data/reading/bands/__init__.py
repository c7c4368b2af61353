"""Pictures of other channels than RGB: from arrays, TIFF, DICOM and what Pillow reads."""
