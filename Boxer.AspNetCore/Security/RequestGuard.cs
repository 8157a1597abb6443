using Microsoft.AspNetCore.Authentication;

namespace Boxer.AspNetCore.Security;

/// <summary>Applies error handling, the browser check and API keys to single endpoints or to a whole application.</summary>
internal sealed class RequestGuard(ErrorHandling errors, BrowserGuard browsers, ApiKeys keys, BoxerHttpRoutes routes)
{
    /// <summary>Protects an endpoint. Its authorization policy has checked the key.</summary>
    public Task GuardEndpointAsync(HttpContext context, RequestDelegate next) =>
        context.Items.ContainsKey(typeof(RequestGuard)) ? next(context) : errors.InvokeAsync(context, inner => browsers.InvokeAsync(inner, next));

    /// <summary>Protects all paths of an application, including unknown ones.</summary>
    public Task GuardApplicationAsync(HttpContext context, RequestDelegate next)
    {
        context.Items[typeof(RequestGuard)] = true;
        return errors.InvokeAsync(context, guarded => browsers.InvokeAsync(guarded, checkedContext => CheckKeyAsync(checkedContext, next)));
    }

    private async Task CheckKeyAsync(HttpContext context, RequestDelegate next)
    {
        if (keys.AreRequired && !routes.IsHealth(context.Request.Path))
        {
            AuthenticateResult client = await context.AuthenticateAsync(BoxerHttpDefaults.AuthenticationScheme);
            if (!client.Succeeded)
            {
                await context.ChallengeAsync(BoxerHttpDefaults.AuthenticationScheme);
                return;
            }

            context.User = client.Principal;
        }

        await next(context);
    }
}
