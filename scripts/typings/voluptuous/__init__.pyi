# Home Assistant puts probatio in voluptuous' place when it starts; the types
# of what we import as voluptuous are therefore probatio's.
from probatio import *
