"""The stack of the template, deployed by SAM's own command line to an emulator of AWS and used from outside."""
