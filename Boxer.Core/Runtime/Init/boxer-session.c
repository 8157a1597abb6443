/* Sessions: the commands, processes and connections of a sandbox that the host keeps. See "Sessions" in PROTOCOL.md. */
#include "boxer-pid1.h"
