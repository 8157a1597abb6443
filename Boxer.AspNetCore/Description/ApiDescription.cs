using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace Boxer.AspNetCore.Description;

/// <summary>The OpenAPI document of the endpoints.</summary>
internal static class ApiDescription
{
    public static void AddApiDescription(this IServiceCollection services)
    {
        services.ConfigureHttpJsonOptions(options =>
            options.SerializerOptions.TypeInfoResolverChain.Insert(0, HostJson.Default.WithAddedModifier(NameMembers)));
        services.AddOpenApi(BoxerHttpDefaults.DocumentName, options =>
        {
            options.AddDocumentTransformer((document, _, _) =>
            {
                document.Info.Title = "Boxer";
                return Task.CompletedTask;
            });
            options.AddSchemaTransformer((schema, context, _) =>
            {
                if (context.JsonTypeInfo.Type == typeof(LargeText))
                {
                    schema.Type = JsonSchemaType.String;
                }
                else if (context.JsonPropertyInfo is { Name: "env" })
                {
                    (schema.Type, schema.Items) = (null, null);
                    schema.OneOf =
                    [
                        new OpenApiSchema { Type = JsonSchemaType.Array, Items = new OpenApiSchema { Type = JsonSchemaType.String } },
                        new OpenApiSchema { Type = JsonSchemaType.Object, AdditionalProperties = new OpenApiSchema { Type = JsonSchemaType.String } },
                        new OpenApiSchema { Type = JsonSchemaType.Null },
                    ];
                }

                return Task.CompletedTask;
            });
        });
    }

    /// <summary>Maps the document at <c>openapi/v1.json</c>. It is made once.</summary>
    public static void MapApiDescription(this RouteGroupBuilder routes)
    {
        Task<byte[]>? made = null;
        routes.MapGet("/openapi/v1.json", async (HttpContext context) =>
        {
            byte[] document = await (made ??= MakeAsync(context.RequestServices));
            context.Response.ContentType = "application/json; charset=utf-8";
            context.Response.ContentLength = document.Length;
            await context.Response.Body.WriteAsync(document, context.RequestAborted);
        }).ExcludeFromDescription();
    }

    private static async Task<byte[]> MakeAsync(IServiceProvider services)
    {
        IOpenApiDocumentProvider provider = services.GetRequiredKeyedService<IOpenApiDocumentProvider>(BoxerHttpDefaults.DocumentName);
        OpenApiDocument document = await provider.GetOpenApiDocumentAsync();
        using MemoryStream json = new();
        await document.SerializeAsJsonAsync(json, OpenApiSpecVersion.OpenApi3_1);
        return json.ToArray();
    }

    // The application's own JSON options may have other names and let numbers be texts.
    private static void NameMembers(JsonTypeInfo type)
    {
        type.NumberHandling = JsonNumberHandling.Strict;
        foreach (JsonPropertyInfo property in type.Properties)
        {
            property.Name = JsonNamingPolicy.SnakeCaseLower.ConvertName(property.Name);
        }
    }
}
