namespace Boxer.Runtime.Init;

/// <summary>Types of frames. The high bit is set in frames of PID 1.</summary>
internal enum InitFrameType : ushort
{
    /// <summary>To PID 1: prepare the run.</summary>
    Start = 0x0001,

    /// <summary>To PID 1: an input file begins.</summary>
    FileBegin = 0x0002,

    /// <summary>To PID 1: next bytes of the file.</summary>
    FileData = 0x0003,

    /// <summary>To PID 1: the file is complete.</summary>
    FileEnd = 0x0004,

    /// <summary>To PID 1: execute the command.</summary>
    Go = 0x0005,

    /// <summary>To PID 1: kill every process and report the end.</summary>
    Kill = 0x0006,

    /// <summary>To PID 1: send a signal to the command's process group.</summary>
    Signal = 0x0007,

    /// <summary>To PID 1: run a command ahead, to warm up the sandbox's kernel.</summary>
    WarmUp = 0x0008,

    /// <summary>To PID 1: make a directory of the workspace.</summary>
    TreeDirectory = 0x0009,

    /// <summary>To PID 1: a file of the workspace begins.</summary>
    TreeFile = 0x000A,

    /// <summary>To PID 1: make a symbolic link of the workspace.</summary>
    TreeLink = 0x000B,

    /// <summary>To PID 1: copy a file of the workspace.</summary>
    TreeCopy = 0x000C,

    /// <summary>To PID 1: open a session.</summary>
    Open = 0x000D,

    /// <summary>To PID 1: execute a command in the session.</summary>
    Exec = 0x0010,

    /// <summary>To PID 1: send a signal to a command of the session.</summary>
    ProcessSignal = 0x0011,

    /// <summary>To PID 1: next bytes for a relayed command or a connection.</summary>
    Input = 0x0012,

    /// <summary>To PID 1: no more bytes follow for a relayed command or a connection.</summary>
    InputEnd = 0x0013,

    /// <summary>To PID 1: more bytes of a stream may come.</summary>
    Credit = 0x0014,

    /// <summary>To PID 1: change the size of a terminal.</summary>
    Resize = 0x0015,

    /// <summary>To PID 1: change the limits of a running command.</summary>
    ProcessLimits = 0x0016,

    /// <summary>To PID 1: connect to a port of the sandbox.</summary>
    Connect = 0x0017,

    /// <summary>To PID 1: close a connection, or the streams of a relayed command.</summary>
    Release = 0x0018,

    /// <summary>To PID 1: start a file worker.</summary>
    Files = 0x0019,

    /// <summary>To PID 1: report the use of the sandbox.</summary>
    Usage = 0x001A,

    /// <summary>To PID 1: report the use of a command.</summary>
    ProcessUsage = 0x001B,

    /// <summary>To PID 1: report which commands still have a descriptor of the host.</summary>
    Quiesce = 0x001C,

    /// <summary>To PID 1: count the descriptors that come with this frame.</summary>
    Probe = 0x000E,

    /// <summary>To a file worker: read a file.</summary>
    FilesRead = 0x0100,

    /// <summary>To a file worker: write a file, whose content follows.</summary>
    FilesWrite = 0x0101,

    /// <summary>To a file worker: describe an entry.</summary>
    FilesStat = 0x0102,

    /// <summary>To a file worker: list a directory.</summary>
    FilesList = 0x0103,

    /// <summary>To a file worker: make a directory with its parents.</summary>
    FilesMakeDirectory = 0x0104,

    /// <summary>To a file worker: rename an entry.</summary>
    FilesMove = 0x0105,

    /// <summary>To a file worker: remove an entry with what is below it.</summary>
    FilesRemove = 0x0106,

    /// <summary>To a file worker: read a directory with its contents.</summary>
    FilesReadTree = 0x0107,

    /// <summary>To a file worker: write the entries that follow below a directory.</summary>
    FilesWriteTree = 0x0108,

    /// <summary>To a file worker: make a directory of the tree, if it is missing.</summary>
    FilesTreeParent = 0x0109,

    /// <summary>To a file worker: the tree is complete.</summary>
    FilesTreeEnd = 0x010A,

    /// <summary>To a file worker: report changes.</summary>
    FilesWatch = 0x010B,

    /// <summary>PID 1 waits for START, OPEN or WARM_UP.</summary>
    Ready = 0x8001,

    /// <summary>The command has started.</summary>
    Started = 0x8002,

    /// <summary>The command could not be executed.</summary>
    NotStarted = 0x8003,

    /// <summary>An input file could not be written.</summary>
    FileFailed = 0x8004,

    /// <summary>The command has ended.</summary>
    Ended = 0x8005,

    /// <summary>Directory of the outputs or of the workspace.</summary>
    OutputDirectory = 0x8006,

    /// <summary>File of the outputs or of the workspace.</summary>
    OutputFile = 0x8007,

    /// <summary>Next bytes of the file.</summary>
    OutputData = 0x8008,

    /// <summary>Outputs were omitted.</summary>
    OutputTruncated = 0x8009,

    /// <summary>All outputs, or all changes of the workspace, were sent.</summary>
    OutputDone = 0x800A,

    /// <summary>PID 1 failed and exits.</summary>
    Fault = 0x800B,

    /// <summary>The command of a warm-up has ended, and PID 1 waits again.</summary>
    WarmedUp = 0x800C,

    /// <summary>Symbolic link of the workspace.</summary>
    OutputLink = 0x800D,

    /// <summary>The session is open.</summary>
    Opened = 0x800E,

    /// <summary>A command or a file worker of the session has started.</summary>
    ProcessStarted = 0x8010,

    /// <summary>A command or a file worker could not be started.</summary>
    ProcessNotStarted = 0x8011,

    /// <summary>The first process of a command, or a file worker, has ended.</summary>
    ProcessEnded = 0x8012,

    /// <summary>Next bytes of a relayed command or a connection.</summary>
    Output = 0x8013,

    /// <summary>No more bytes of a stream follow.</summary>
    OutputEnd = 0x8014,

    /// <summary>A connection is open.</summary>
    Connected = 0x8015,

    /// <summary>A connection could not be opened.</summary>
    NotConnected = 0x8016,

    /// <summary>There is room for input again.</summary>
    InputTaken = 0x8017,

    /// <summary>A connection is over.</summary>
    Closed = 0x8018,

    /// <summary>The limits of a command were changed, or not.</summary>
    ProcessLimitsSet = 0x8019,

    /// <summary>Use of the sandbox.</summary>
    UsageReport = 0x801A,

    /// <summary>Use of a command.</summary>
    ProcessUsageReport = 0x801B,

    /// <summary>Commands that still have a descriptor of the host.</summary>
    Quiet = 0x801C,

    /// <summary>Number of descriptors that came with a probe.</summary>
    Probed = 0x800F,

    /// <summary>The operation of a file worker has succeeded.</summary>
    FilesDone = 0x8100,

    /// <summary>The operation of a file worker has failed.</summary>
    FilesFailed = 0x8101,

    /// <summary>The file is open, or the watch has begun.</summary>
    FilesOpened = 0x8102,

    /// <summary>Next bytes of the file.</summary>
    FilesData = 0x8103,

    /// <summary>An entry.</summary>
    FilesEntry = 0x8104,

    /// <summary>The list lacks entries.</summary>
    FilesIncomplete = 0x8105,

    /// <summary>A change of a watched directory or file.</summary>
    FilesChange = 0x8106,
}
