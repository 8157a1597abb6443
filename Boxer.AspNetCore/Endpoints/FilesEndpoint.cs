using System.Diagnostics.CodeAnalysis;
using Boxer.Common;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Extensions.Options;
using Microsoft.Net.Http.Headers;

namespace Boxer.AspNetCore.Endpoints;

/// <summary>POST, GET and DELETE /files.</summary>
internal static class FilesEndpoint
{
    /// <summary>Maximum size of the parts of a multipart body other than the file: boundaries, headers and the path.</summary>
    private const int MultipartOverhead = 64 * 1_024;

    private const int MaxPathBytes = 16 * 1_024;

    private const int MaxBoundaryLength = 100;

    public static void MapFiles(this IEndpointRouteBuilder routes)
    {
        routes.MapPost("/files", (Delegate)UploadAsync)
            .WithOperationId("uploadFile")
            .WithTags("Files")
            .WithSummary("Stores a file for runs. An existing file at the path is replaced.")
            // Other content types reach the endpoint too, whose error explains what to send.
            .Accepts<UploadForm>("multipart/form-data", "*/*")
            .Produces<FileBody>()
            .ProducesErrors(400, 401, 403, 413, 421, 429, 500, 503, 507);
        routes.MapGet("/files", DownloadAsync)
            .WithOperationId("downloadFile")
            .WithTags("Files")
            .WithSummary("Returns the bytes of an upload or of a kept output.")
            .Produces<IFormFile>(contentType: "application/octet-stream")
            .ProducesErrors(400, 401, 403, 404, 421, 500);
        routes.MapDelete("/files", DeleteAsync)
            .WithOperationId("deleteFile")
            .WithTags("Files")
            .WithSummary("Deletes a file, or all files below a directory such as output/exec_id.")
            .Produces<FileBody>()
            .ProducesErrors(400, 401, 403, 404, 421, 500);
    }

    private static async Task UploadAsync(HttpContext context)
    {
        BoxerHttpOptions options = context.RequestServices.GetRequiredService<IOptions<BoxerHttpOptions>>().Value;
        FileSpace space = SpaceOf(context);
        GracefulShutdown shutdown = context.RequestServices.GetRequiredService<GracefulShutdown>();
        RequestSizeLimit.Set(
            context, options.MaxUploadBytes + MultipartOverhead, $"The file is larger than {options.MaxUploadBytes} bytes, the maximum size of one file.");

        string boundary = FindBoundary(context.Request);
        RequestBodies bodies = context.RequestServices.GetRequiredService<RequestBodies>();
        using RequestBodyLease lease = bodies.Reserve(context);
        using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, shutdown.GraceOver);
        await using TimedRequestBody body = bodies.OpenUpload(context, options.MaxUploadBytes, end.Token);
        MultipartReader reader = new(boundary, body) { HeadersCountLimit = 16, HeadersLengthLimit = 16 * 1_024 };
        string path = await StoreAsync(context, reader, space, options.MaxUploadBytes, end.Token);
        await context.Response.WriteAsJsonAsync(new FileBody(path), HostJson.Relaxed.FileBody, cancellationToken: context.RequestAborted);
    }

    private static async Task<string> StoreAsync(HttpContext context, MultipartReader reader, FileSpace space, long maxBytes, CancellationToken cancellationToken)
    {
        StagedFile? file = null;
        string? path = null;
        try
        {
            while (await ReadPartAsync(() => reader.ReadNextSectionAsync(cancellationToken)) is { } section)
            {
                string? name = ContentDispositionHeaderValue.TryParse(section.ContentDisposition, out ContentDispositionHeaderValue? disposition)
                    ? HeaderUtilities.RemoveQuotes(disposition.Name).Value
                    : null;
                switch (name)
                {
                    case "file" when file is null:
                        file = await space.StageAsync(new PartBody(section.Body), maxBytes, cancellationToken);
                        break;
                    case "path" when path is null:
                        path = await ReadPartAsync(() => ReadPathAsync(section.Body, cancellationToken));
                        break;
                    case "file" or "path":
                        throw HttpFaultException.BadRequest($"{name}: appears twice; send it once.");
                    default:
                        throw HttpFaultException.BadRequest("the body has a part that is neither file nor path; send these two.");
                }
            }

            if (file is null || path is null)
            {
                throw HttpFaultException.BadRequest($"{(file is null ? "file" : "path")}: the part is missing; send file and path as multipart/form-data.");
            }

            Publish(context, file, path);
            return path;
        }
        finally
        {
            file?.Dispose();
        }
    }

    private static FileSpace SpaceOf(HttpContext context) => context.RequestServices.GetRequiredService<FileStore>().GetSpace(Clients.NameOf(context));

    private static void Publish(HttpContext context, StagedFile file, string path)
    {
        try
        {
            file.Publish(path);
        }
        catch (InvalidSandboxRequestException exception)
        {
            throw HttpFaultException.BadRequest(FieldNames.OfRequest(exception, context));
        }
    }

    private static async Task DownloadAsync(HttpContext context, string? path)
    {
        CheckPath(context, path);
        FileSpace space = SpaceOf(context);
        Stream file = space.OpenRead(path) ?? throw Missing(path);
        await using (file)
        {
            HttpResponse response = context.Response;
            response.ContentType = "application/octet-stream";
            response.ContentLength = file.Length;
            response.Headers.CacheControl = "no-store";

            // A browser must download stored content, never render it.
            ContentDispositionHeaderValue disposition = new("attachment");
            disposition.SetHttpFileName(Path.GetFileName(path));
            response.Headers.ContentDisposition = disposition.ToString();
            await file.CopyToAsync(response.Body, context.RequestAborted);
        }
    }

    private static async Task DeleteAsync(HttpContext context, string? path)
    {
        CheckPath(context, path);
        FileSpace space = SpaceOf(context);
        if (space.Delete(path) == 0)
        {
            throw Missing(path);
        }

        await context.Response.WriteAsJsonAsync(new FileBody(path), HostJson.Relaxed.FileBody, cancellationToken: context.RequestAborted);
    }

    private static HttpFaultException Missing(string path) =>
        new(StatusCodes.Status404NotFound, $"path: there is no file '{path}'; it was not uploaded, or was deleted after a run that did not persist.");

    private static void CheckPath(HttpContext context, [NotNull] string? path)
    {
        if (path is null || context.Request.Query["path"].Count != 1)
        {
            throw HttpFaultException.BadRequest("path: name one file, as in GET /files?path=job/main.py.");
        }

        if (StoredPath.FindFault(path) is { } fault)
        {
            throw HttpFaultException.BadRequest($"path: The path {fault}");
        }
    }

    private static string FindBoundary(HttpRequest request)
    {
        const string Remedy = "send file and path as multipart/form-data.";
        if (!MediaTypeHeaderValue.TryParse(request.ContentType, out MediaTypeHeaderValue? type)
            || !type.MediaType.Equals("multipart/form-data", StringComparison.OrdinalIgnoreCase))
        {
            throw HttpFaultException.BadRequest($"the body is not multipart/form-data; {Remedy}");
        }

        string? boundary = HeaderUtilities.RemoveQuotes(type.Boundary).Value;
        return boundary is { Length: > 0 and <= MaxBoundaryLength }
            ? boundary
            : throw HttpFaultException.BadRequest($"the body's Content-Type has no boundary that can be used; {Remedy}");
    }

    /// <summary>Maps the exceptions of the reader for malformed or truncated bodies to 400.</summary>
    private static async Task<T> ReadPartAsync<T>(Func<Task<T>> read)
    {
        try
        {
            return await read();
        }
        catch (Exception exception) when (exception is InvalidDataException or (IOException and not BadHttpRequestException))
        {
            throw HttpFaultException.BadRequest("the body is not valid multipart/form-data; it is broken off, or its headers are too large.");
        }
    }

    /// <summary>Reads a part, and keeps its failures apart from failures of the disk that it is written to.</summary>
    private sealed class PartBody(Stream part) : ForwardStream
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            await ReadPartAsync(() => part.ReadAsync(buffer, cancellationToken).AsTask());
    }

    private static async Task<string> ReadPathAsync(Stream body, CancellationToken cancellationToken)
    {
        byte[] bytes = new byte[MaxPathBytes];
        int length = await body.ReadAtLeastAsync(bytes, bytes.Length, throwOnEndOfStream: false, cancellationToken);

        // A path that fills the buffer exceeds the maximum length.
        return UntrustedText.TryDecode(bytes.AsSpan(0, length), out string? path) ? path : throw HttpFaultException.BadRequest(length < bytes.Length
            ? "path: The path is not valid UTF-8; encode it as UTF-8."
            : $"path: The path has too many bytes; at most {CleanPath.MaxRelativeBytes} are allowed.");
    }

    /// <summary>The body of POST /files.</summary>
    /// <param name="File">The content of the file.</param>
    /// <param name="Path">The relative path, without empty, . or .. segments, at most 4094 bytes. Not under output/.</param>
    internal sealed record UploadForm(IFormFile File, string Path);
}
