using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Boxer.AspNetCore.Endpoints;

namespace Boxer.AspNetCore.Description;

/// <summary>Registers and maps the OpenAPI document.</summary>
internal static class ApiDescription
{
    /// <summary>Names of the schemas. Schemas of other types are inlined.</summary>
    private static readonly Dictionary<Type, string> Names = new()
    {
        [typeof(RunRequestBody)] = "RunRequest",
        [typeof(LimitsBody)] = "Limits",
        [typeof(EgressBody)] = "EgressPolicy",
        [typeof(InputBody)] = "InlineFile",
        [typeof(WorkspaceBody)] = "Workspace",
        [typeof(RunResponseBody)] = "RunResult",
        [typeof(RunErrorBody)] = "RunError",
        [typeof(ErrorBody)] = "Error",
        [typeof(OutputBody)] = "OutputFile",
        [typeof(TimingsBody)] = "Timings",
        [typeof(UsageBody)] = "Usage",
        [typeof(DenialBody)] = "NetworkDenial",
        [typeof(NetworkUsageBody)] = "NetworkUsage",
        [typeof(StartedBody)] = "RunStarted",
        [typeof(TextBody)] = "RunText",
        [typeof(SessionRequestBody)] = "SessionRequest",
        [typeof(SessionTimesBody)] = "SessionTimes",
        [typeof(SessionBody)] = "Session",
        [typeof(SessionErrorBody)] = "SessionError",
        [typeof(ExecRequestBody)] = "ExecRequest",
        [typeof(ProcessRequestBody)] = "ProcessRequest",
        [typeof(TerminalBody)] = "Terminal",
        [typeof(SignalBody)] = "SignalRequest",
        [typeof(ProcessBody)] = "Process",
        [typeof(ProcessEndBody)] = "ProcessEnd",
        [typeof(ProcessOutputBody)] = "ProcessOutput",
        [typeof(PidBody)] = "ProcessId",
        [typeof(EntryBody)] = "Entry",
        [typeof(FileChangeBody)] = "FileChange",
        [typeof(MoveBody)] = "MoveRequest",
        [typeof(DirectoryBody)] = "DirectoryRequest",
        [typeof(FilesEndpoint.UploadForm)] = "Upload",
        [typeof(FileBody)] = "StoredFile",
        [typeof(HealthBody)] = "Health",
        [typeof(ReadyBody)] = "Readiness",
        [typeof(CheckBody)] = "HealthCheck",
        [typeof(LargeText)] = "LargeText",
        [typeof(IFormFile)] = "IFormFile",
    };

    public static void AddApiDescription(this IServiceCollection services)
    {
        services.ConfigureHttpJsonOptions(options =>
        {
            // The application shares these options: only types of this assembly are affected.
            IList<IJsonTypeInfoResolver> chain = options.SerializerOptions.TypeInfoResolverChain;
            chain.Insert(0, new OwnTypes(HostJson.Default.WithAddedModifier(SetMemberNames)));
            chain.Add(HostJson.Default);
        });
        services.AddOpenApi(BoxerHttpDefaults.DocumentName, options =>
        {
            options.ShouldInclude = endpoint => endpoint.GroupName == BoxerHttpDefaults.DocumentName;
            options.CreateSchemaReferenceId = type => Names.GetValueOrDefault(type.Type);
            options.AddOperationTransformer((operation, context, _) =>
            {
                operation.OperationId = context.Description.ActionDescriptor.EndpointMetadata.OfType<OperationId>().LastOrDefault()?.Name ?? operation.OperationId;
                return Task.CompletedTask;
            });
            options.AddDocumentTransformer(async (document, context, cancellationToken) =>
            {
                Type[] events = [typeof(StartedBody), typeof(TextBody), .. SessionRoutes.AreAvailable(context.ApplicationServices) ? [typeof(ProcessOutputBody), typeof(FileChangeBody)] : Type.EmptyTypes];
                foreach (Type type in events)
                {
                    document.AddComponent(Names[type], await context.GetOrCreateSchemaAsync(type, parameterDescription: null, cancellationToken));
                }
            });
        });
        services.AddSingleton<ApiDocument>();
    }

    /// <summary>Maps the document at <c>openapi/v1.json</c>.</summary>
    public static void MapApiDescription(this RouteGroupBuilder routes) => routes.MapGet("/openapi/v1.json", (Delegate)SendAsync).ExcludeFromDescription();

    private static async Task SendAsync(HttpContext context)
    {
        byte[] document = await context.RequestServices.GetRequiredService<ApiDocument>().GetAsync();
        context.Response.ContentType = "application/json; charset=utf-8";
        context.Response.ContentLength = document.Length;
        await context.Response.Body.WriteAsync(document, context.RequestAborted);
    }

    // The application's JSON options may use another naming policy.
    private static void SetMemberNames(JsonTypeInfo type)
    {
        foreach (JsonPropertyInfo property in type.Properties)
        {
            property.Name = JsonNamingPolicy.SnakeCaseLower.ConvertName(property.Name);
        }
    }

    private sealed class OwnTypes(IJsonTypeInfoResolver all) : IJsonTypeInfoResolver
    {
        public JsonTypeInfo? GetTypeInfo(Type type, JsonSerializerOptions options) => type.Assembly == typeof(OwnTypes).Assembly ? all.GetTypeInfo(type, options) : null;
    }
}
