// Nothing to import: this library is preloaded into guests (LD_PRELOAD), it is not called.
