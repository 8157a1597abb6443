using System.Diagnostics.CodeAnalysis;
using Boxer.Common;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Extensions.Options;
using Microsoft.Net.Http.Headers;

namespace Boxer.AspNetCore.Endpoints;

/// <summary>POST, GET and DELETE /files.</summary>
internal static class FilesEndpoint
{
    /// <summary>What a multipart body may have beside the file: boundaries, headers and the path.</summary>
    private const int MultipartOverhead = 64 * 1_024;

    private const int MaxPathBytes = 16 * 1_024;

    private const int MaxBoundaryLength = 100;

    /// <summary>The least rate that makes an upload of the largest size arrive in time.</summary>
    private const int UploadBytesPerSecond = 32 * 1_024;

    public static void MapFiles(this IEndpointRouteBuilder routes)
    {
        routes.MapPost("/files", (Delegate)UploadAsync)
            .WithOperationId("uploadFile")
            .WithTags("Files")
            .WithSummary("Stores a file that runs can use; what was at the path before is replaced.")
            // Other types get the answer of this endpoint, which says what to send.
            .Accepts<UploadForm>("multipart/form-data", "*/*")
            .Produces<FileBody>()
            .ProducesErrors(400, 401, 403, 413, 421, 429, 500, 503, 507);
        routes.MapGet("/files", DownloadAsync)
            .WithOperationId("downloadFile")
            .WithTags("Files")
            .WithSummary("Returns the bytes of an upload, or of an output that was kept.")
            .Produces<IFormFile>(contentType: "application/octet-stream")
            .ProducesErrors(400, 401, 403, 404, 421, 500);
        routes.MapDelete("/files", DeleteAsync)
            .WithOperationId("deleteFile")
            .WithTags("Files")
            .WithSummary("Deletes a file, or everything below a directory such as output/exec_id.")
            .Produces<FileBody>()
            .ProducesErrors(400, 401, 403, 404, 421, 500);
    }

    private static async Task UploadAsync(HttpContext context)
    {
        BoxerHttpOptions options = context.RequestServices.GetRequiredService<IOptions<BoxerHttpOptions>>().Value;
        FileSpace space = SpaceOf(context);
        GracefulShutdown lifetime = context.RequestServices.GetRequiredService<GracefulShutdown>();
        RequestSizeLimit.Set(
            context, options.MaxUploadBytes + MultipartOverhead, $"The file has more than {options.MaxUploadBytes} bytes, the most that one file may have.");

        string boundary = FindBoundary(context.Request);
        using RequestBodyLease place = context.RequestServices.GetRequiredService<RequestBodyBudget>().Enter(context);
        using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, lifetime.End);
        await using TimedRequestBody body = new(
            context.Request.Body,
            options.RequestBodyTimeout + TimeSpan.FromSeconds(options.MaxUploadBytes / UploadBytesPerSecond),
            context.RequestServices.GetRequiredService<TimeProvider>(),
            onRead: null,
            end.Token);
        MultipartReader reader = new(boundary, body) { HeadersCountLimit = 16, HeadersLengthLimit = 16 * 1_024 };
        StagedFile? file = null;
        string? path = null;
        try
        {
            while (await NextSectionAsync(reader, end.Token) is { } section)
            {
                string? name = ContentDispositionHeaderValue.TryParse(section.ContentDisposition, out ContentDispositionHeaderValue? disposition)
                    ? HeaderUtilities.RemoveQuotes(disposition.Name).Value
                    : null;
                switch (name)
                {
                    case "file" when file is null:
                        file = await space.StageAsync(new PartBody(section.Body), options.MaxUploadBytes, end.Token);
                        break;
                    case "path" when path is null:
                        path = await ReadPartAsync(() => ReadPathAsync(section.Body, end.Token));
                        break;
                    case "file" or "path":
                        throw HttpFaultException.BadRequest($"{name}: is there twice; send one.");
                    default:
                        throw HttpFaultException.BadRequest("the body has a part that is neither file nor path; send these two.");
                }
            }

            if (file is null || path is null)
            {
                throw HttpFaultException.BadRequest($"{(file is null ? "file" : "path")}: the part is missing; send file and path as multipart/form-data.");
            }

            Publish(context, file, path);
        }
        finally
        {
            file?.Dispose();
        }

        await context.Response.WriteAsJsonAsync(new FileBody(path), HostJson.Relaxed.FileBody, cancellationToken: context.RequestAborted);
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

            // Whatever was stored here, a browser saves it and never shows it.
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

        if (FileSpace.FindPathFault(path) is { } fault)
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

    private static async Task<MultipartSection?> NextSectionAsync(MultipartReader reader, CancellationToken cancellationToken)
    {
        return await ReadPartAsync(() => reader.ReadNextSectionAsync(cancellationToken));
    }

    /// <summary>What the reader throws for bodies that are not multipart, or end too early, is the client's fault.</summary>
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

    /// <summary>A part as it comes: what goes wrong with it is not taken for a fault of the disk that it is written to.</summary>
    private sealed class PartBody(Stream part) : ForwardStream
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            await ReadPartAsync(() => part.ReadAsync(buffer, cancellationToken).AsTask());
    }

    private static async Task<string> ReadPathAsync(Stream body, CancellationToken cancellationToken)
    {
        byte[] bytes = new byte[MaxPathBytes];
        int length = await body.ReadAtLeastAsync(bytes, bytes.Length, throwOnEndOfStream: false, cancellationToken);

        // A path of the whole buffer is too long whatever follows it: the rules say so.
        return UntrustedText.TryDecode(bytes.AsSpan(0, length), out string? path) ? path : throw HttpFaultException.BadRequest(length < bytes.Length
            ? "path: The path is not valid UTF-8; encode it so."
            : $"path: The path has too many bytes; at most {CleanPath.MaxRelativeBytes} are allowed.");
    }

    /// <summary>The body of POST /files. It is read as it comes, and this type describes it.</summary>
    /// <param name="File">The content.</param>
    /// <param name="Path">A relative, clean path of at most 4094 bytes; not under output/.</param>
    internal sealed record UploadForm(IFormFile File, string Path);
}
