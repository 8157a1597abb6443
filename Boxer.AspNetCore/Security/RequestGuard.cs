using Microsoft.AspNetCore.Authentication;

namespace Boxer.AspNetCore.Security;

/// <summary>Puts errors in one form, refuses requests of other sites' pages, and asks for a key; for single endpoints, or for a whole application.</summary>
internal sealed class RequestGuard(ErrorHandling errors, BrowserGuard browsers, ApiKeys keys, BoxerHttpRoutes routes)
{
    /// <summary>Guards an endpoint whose key was checked by its authorization policy.</summary>
    public Task GuardEndpointAsync(HttpContext context, RequestDelegate next) =>
        context.Items.ContainsKey(typeof(RequestGuard)) ? next(context) : errors.InvokeAsync(context, inner => browsers.InvokeAsync(inner, next));

    /// <summary>Guards everything that an application answers, unknown paths too.</summary>
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
