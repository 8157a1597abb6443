using System.Text.Json;
using System.Text.Json.Serialization;
using Boxer.AspNetCore.Contracts;
using Microsoft.OpenApi;

namespace Boxer.AspNetCore.Description;

/// <summary>The OpenAPI document of the endpoints.</summary>
internal static class ApiDescription
{
    public static void AddApiDescription(this IServiceCollection services)
    {
        services.ConfigureHttpJsonOptions(options =>
        {
            // The description of the API is made with these.
            options.SerializerOptions.PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower;
            options.SerializerOptions.NumberHandling = JsonNumberHandling.Strict;
            options.SerializerOptions.TypeInfoResolverChain.Insert(0, HostJson.Default);
        });
        services.AddOpenApi(options =>
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
}
