using System.Runtime.CompilerServices;
using Boxer.Inputs;
using Boxer.Runtime.Init;
using Boxer.Validation;

namespace Boxer.Runtime;

/// <summary>Sends the inputs of one command, or of a session, to PID 1: files, and the workspace.</summary>
/// <param name="init">The channel to PID 1.</param>
/// <param name="files">Files to write.</param>
/// <param name="workspace">The workspace to fill; <see langword="null"/>: none.</param>
/// <param name="time">The clock.</param>
internal sealed class CommandInputs(InitChannel init, IReadOnlyList<SandboxFile> files, CheckedWorkspace? workspace, TimeProvider time)
{
    private volatile string? _field;

    /// <summary>The property of the request whose content is being read; <see langword="null"/> before and after, and while PID 1 does not take what was read.</summary>
    internal string? Field => init.IsSending ? null : _field;

    /// <summary>Sends all of them, after START or OPEN. The command does not start before <see cref="InitChannel.GoAsync"/>.</summary>
    /// <param name="cancellationToken">Cancels the operation; the sandbox is of no use afterwards.</param>
    /// <exception cref="InvalidSandboxRequestException">A file or an input of the workspace is rejected, or cannot be read.</exception>
    internal async Task SendAsync(CancellationToken cancellationToken)
    {
        for (int i = 0; i < files.Count; i++)
        {
            _field = $"Files[{i}]";
            await SendFileAsync(files[i], _field, cancellationToken).ConfigureAwait(false);
        }

        if (workspace is not null)
        {
            using var sender = new WorkspaceSender(workspace, init, time.GetUtcNow(), field => _field = field);
            await sender.SendAsync(cancellationToken).ConfigureAwait(false);
        }

        _field = null;
    }

    // Failures of the socket to PID 1 are SocketExceptions, so an IOException comes from the content.
    private async Task SendFileAsync(SandboxFile file, string field, CancellationToken cancellationToken)
    {
        try
        {
            Stream content = await file.OpenReadAsync(cancellationToken).ConfigureAwait(false);
            await using ConfiguredAsyncDisposable opened = content.ConfigureAwait(false);
            await init.SendFileAsync("/" + file.Path, file.Executable, content, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (UnreadableContent.Is(exception, cancellationToken))
        {
            throw UnreadableContent.Rejection(field, exception);
        }
    }
}
