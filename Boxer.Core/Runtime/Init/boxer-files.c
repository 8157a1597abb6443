/* The file worker of a session: a child of PID 1 with the identity of the session's user. See "The file worker" in PROTOCOL.md. */
#include "boxer-pid1.h"

_Noreturn void serve_files(int socket)
{
    close(socket);
    _exit(0);
}
