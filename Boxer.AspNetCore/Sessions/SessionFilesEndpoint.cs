using Boxer.AspNetCore.Endpoints;
using Microsoft.Extensions.Options;
using Microsoft.Net.Http.Headers;

namespace Boxer.AspNetCore.Sessions;

/// <summary>The files of a session: bytes, entries and tar archives. Nothing is buffered.</summary>
internal static class SessionFilesEndpoint
{
    /// <summary>Tag of the requests to files.</summary>
    internal const string Tag = "Session files";

    /// <summary>The default of paths of directories.</summary>
    internal const string WorkingDirectory = ".";

    private const int MaxDepth = 64;

    private const int CopyBytes = 64 << 10;

    private const string Tar = "application/x-tar";

    public static void MapSessionFiles(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/sessions/{id}/files", (Delegate)ReadAsync)
            .Describe("readSessionFile", "Returns the bytes of a file.")
            .Produces<IFormFile>(contentType: "application/octet-stream");
        routes.MapPut("/sessions/{id}/files", (Delegate)WriteAsync)
            .Describe("writeSessionFile", "Writes a file, and creates missing directories of its path. An existing file is replaced.")
            .Accepts<IFormFile>("application/octet-stream", "*/*")
            .Produces<FileBody>();
        routes.MapDelete("/sessions/{id}/files", (Delegate)RemoveAsync)
            .Describe("removeSessionFile", "Removes a file, or a directory with everything in it.")
            .Produces<FileBody>();
        routes.MapGet("/sessions/{id}/files/stat", (Delegate)StatAsync)
            .Describe("statSessionFile", "Describes a file, directory or link. A link is not followed.")
            .Produces<EntryBody>();
        routes.MapGet("/sessions/{id}/files/list", (Delegate)ListAsync)
            .Describe("listSessionFiles", "Lists a directory, each directory before its entries. The header X-Boxer-Incomplete is true if entries are missing.")
            .Produces<IReadOnlyList<EntryBody>>();
        routes.MapPost("/sessions/{id}/files/move", (Delegate)MoveAsync)
            .Describe("moveSessionFile", "Moves a file or directory. A file at the new path is replaced.")
            .Accepts<MoveBody>("application/json", "*/*")
            .Produces<FileBody>();
        routes.MapPost("/sessions/{id}/files/mkdir", (Delegate)MakeDirectoryAsync)
            .Describe("makeSessionDirectory", "Creates a directory. An existing one is left as it is.")
            .Accepts<DirectoryBody>("application/json", "*/*")
            .Produces<FileBody>();
        routes.MapGet("/sessions/{id}/files/tar", (Delegate)ReadArchiveAsync)
            .Describe("readSessionArchive", "Returns a directory or file as a tar archive. Treat it as untrusted.")
            .Produces<IFormFile>(contentType: Tar);
        routes.MapPut("/sessions/{id}/files/tar", (Delegate)WriteArchiveAsync)
            .Describe("writeSessionArchive", "Unpacks a tar archive into a directory, which is created if it does not exist.")
            .Accepts<IFormFile>(Tar, "*/*")
            .Produces<FileBody>();
    }

    /// <summary>Marks a list that has not all entries.</summary>
    public static void MarkIncomplete(HttpContext context) => context.Response.Headers["X-Boxer-Incomplete"] = "true";

    private static RouteHandlerBuilder Describe(this RouteHandlerBuilder route, string name, string summary) =>
        route.Describe(name, Tag, summary).ProducesSessionErrors(400, 409, 413, 429, 507);

    private static async Task ReadAsync(HttpContext context)
    {
        (ISandboxSession session, string path) = await FindAsync(context);
        await SendAsync(context, session, path, "application/octet-stream", session.Files.OpenReadAsync);
    }

    private static async Task WriteAsync(HttpContext context)
    {
        ISandboxSession session = await FindSessionAsync(context);
        RequestQuery query = new(context);
        string path = query.Path();
        UnixFileMode? mode = query.Mode("mode");
        await query.CheckAndResumeAsync(session);
        long most = context.RequestServices.GetRequiredService<IOptions<BoxerHttpOptions>>().Value.MaxUploadBytes;
        RequestSizeLimit.Set(context, most, $"the body is larger than {most} bytes, the maximum size of one upload.");
        await ReceiveAsync(context, session, most, (body, token) => session.Files.WriteAsync(path, body, mode, token));
        await WritePathAsync(context, path);
    }

    private static async Task RemoveAsync(HttpContext context)
    {
        (ISandboxSession session, string path) = await FindAsync(context);
        await session.Files.RemoveAsync(path, context.RequestAborted);
        await WritePathAsync(context, path);
    }

    private static async Task StatAsync(HttpContext context)
    {
        (ISandboxSession session, string path) = await FindAsync(context);
        SandboxFileInfo entry = await session.Files.StatAsync(path, context.RequestAborted) ?? throw new SandboxFileException(path, SandboxFileError.NotFound);
        await context.Response.WriteAsJsonAsync(EntryBody.Of(entry), HostJson.Relaxed.EntryBody, cancellationToken: context.RequestAborted);
    }

    private static async Task ListAsync(HttpContext context)
    {
        const int PerEntry = 200;
        ISandboxSession session = await FindSessionAsync(context);
        RequestQuery query = new(context);
        string path = query.Path(absent: WorkingDirectory);
        int depth = (int)(query.Whole("depth", 1, MaxDepth) ?? 1);
        await query.CheckAndResumeAsync(session);
        SandboxFileList list = await session.Files.ListAsync(path, depth, context.RequestAborted);
        if (list.IsIncomplete)
        {
            MarkIncomplete(context);
        }

        IReadOnlyList<EntryBody> entries = [.. list.Entries.Select(EntryBody.Of)];
        using IDisposable reservation = context.RequestServices.GetRequiredService<ResponseBudget>().Reserve(
            context, entries.Sum(entry => PerEntry + (2L * entry.Path.Length)));
        await context.Response.WriteAsJsonAsync(entries, HostJson.Relaxed.IReadOnlyListEntryBody, cancellationToken: context.RequestAborted);
    }

    private static async Task MoveAsync(HttpContext context)
    {
        ISandboxSession session = await FindSessionAsync(context);
        bool resume = new RequestQuery(context).CheckAndReadResume();
        MoveBody body = await context.RequestServices.GetRequiredService<RequestBodies>().ReadAsync(
            context, SessionRequestReader.Move, new MoveBody { From = "", To = "" });
        await ResumeAsync(context, session, resume);
        await session.Files.MoveAsync(body.From, body.To, context.RequestAborted);
        await WritePathAsync(context, body.To);
    }

    private static async Task MakeDirectoryAsync(HttpContext context)
    {
        ISandboxSession session = await FindSessionAsync(context);
        bool resume = new RequestQuery(context).CheckAndReadResume();
        DirectoryBody body = await context.RequestServices.GetRequiredService<RequestBodies>().ReadAsync(
            context, SessionRequestReader.Directory, new DirectoryBody { Path = "" });
        await ResumeAsync(context, session, resume);
        await session.Files.MakeDirectoryAsync(body.Path, context.RequestAborted);
        await WritePathAsync(context, body.Path);
    }

    private static async Task ReadArchiveAsync(HttpContext context)
    {
        (ISandboxSession session, string path) = await FindAsync(context, WorkingDirectory);
        await SendAsync(context, session, path, Tar, session.Files.ReadArchiveAsync);
    }

    private static async Task WriteArchiveAsync(HttpContext context)
    {
        (ISandboxSession session, string path) = await FindAsync(context, WorkingDirectory);
        long most = context.RequestServices.GetRequiredService<IOptions<BoxerOptions>>().Value.Sessions.MaxArchiveBytes;
        RequestSizeLimit.Set(context, most, $"the body is larger than {most} bytes, the maximum size of an archive.");
        await ReceiveAsync(context, session, most, (body, token) => session.Files.WriteArchiveAsync(path, body, token));
        await WritePathAsync(context, path);
    }

    private static async Task SendAsync(
        HttpContext context, ISandboxSession session, string path, string type, Func<string, CancellationToken, Task<Stream>> open)
    {
        using CancellationTokenSource end = EndOf(context);
        await using Stream content = await open(path, end.Token);
        HttpResponse response = context.Response;
        byte[] buffer = new byte[CopyBytes];
        for (int read = await ReadPartAsync(); read > 0 || !response.HasStarted; read = await ReadPartAsync())
        {
            if (!response.HasStarted)
            {
                response.ContentType = type;
                response.Headers.CacheControl = "no-store";

                // A browser must download content, never render it.
                ContentDispositionHeaderValue disposition = new("attachment");
                disposition.SetHttpFileName(Path.GetFileName(path.TrimEnd('/')));
                response.Headers.ContentDisposition = disposition.ToString();
                await response.StartAsync(end.Token);
            }

            await response.Body.WriteAsync(buffer.AsMemory(0, read), end.Token);
            await response.Body.FlushAsync(end.Token);
        }

        // A failure behind the first bytes cuts the response off.
        async Task<int> ReadPartAsync()
        {
            try
            {
                return await content.ReadAsync(buffer, end.Token);
            }
            catch (IOException) when (session.End is not null)
            {
                throw new SandboxSessionEndedException(session.Id, session.End.Value);
            }
        }
    }

    private static async Task ReceiveAsync(HttpContext context, ISandboxSession session, long most, Func<Stream, CancellationToken, Task> write)
    {
        RequestBodies bodies = context.RequestServices.GetRequiredService<RequestBodies>();
        using RequestBodyLease lease = bodies.Reserve(context);
        using CancellationTokenSource end = EndOf(context);
        await using TimedRequestBody timed = bodies.OpenUpload(context, most, end.Token);
        FaultKeepingBody body = new(timed);
        try
        {
            await write(body, end.Token);
        }
        catch (Exception exception) when (body.Fault is not null || (exception is IOException && session.End is not null))
        {
            // The fault of the body has a status of its own, whatever the session made of it.
            if (body.Fault is { } fault)
            {
                System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(fault);
            }

            throw new SandboxSessionEndedException(session.Id, session.End!.Value);
        }
    }

    private static CancellationTokenSource EndOf(HttpContext context) => CancellationTokenSource.CreateLinkedTokenSource(
        context.RequestAborted, context.RequestServices.GetRequiredService<GracefulShutdown>().GraceOver);

    private static Task<ISandboxSession> FindSessionAsync(HttpContext context) => context.RequestServices.GetRequiredService<SessionLookup>().FindAsync(context);

    private static async Task<(ISandboxSession Session, string Path)> FindAsync(HttpContext context, string? absent = null)
    {
        ISandboxSession session = await FindSessionAsync(context);
        RequestQuery query = new(context);
        string path = query.Path(absent: absent);
        await query.CheckAndResumeAsync(session);
        return (session, path);
    }

    private static Task ResumeAsync(HttpContext context, ISandboxSession session, bool resume) =>
        resume ? session.ResumeAsync(context.RequestAborted) : Task.CompletedTask;

    private static Task WritePathAsync(HttpContext context, string path) =>
        context.Response.WriteAsJsonAsync(new FileBody(path), HostJson.Relaxed.FileBody, cancellationToken: context.RequestAborted);

    /// <summary>A body that remembers why it could not be read.</summary>
    private sealed class FaultKeepingBody(Stream body) : Common.ForwardStream
    {
        public Exception? Fault { get; private set; }

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            try
            {
                return await body.ReadAsync(buffer, cancellationToken);
            }
            catch (Exception exception)
            {
                Fault = exception;
                throw;
            }
        }
    }
}
