"""Files before their format matters: archives, encodings, images, where they lie."""
