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

    /// <summary>PID 1 waits for START or WARM_UP.</summary>
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
}
