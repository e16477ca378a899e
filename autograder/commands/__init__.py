"""The commands of `dlcourse`, one module each: options in, engine called, result printed."""
