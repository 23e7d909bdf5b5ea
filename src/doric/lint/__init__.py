"""Every rule of the language data, checked on the files themselves: `check.check` lists what a speaker has to fix."""
