using System.Net;
using Microsoft.AspNetCore.StaticFiles.Infrastructure;
using Microsoft.Extensions.FileProviders;

namespace WebTerminal;

/// <summary>
/// A terminal in the browser, in a sandbox of its own: one page, and a WebSocket to a shell. It listens on loopback only. Settings are <c>Terminal:Port</c>
/// (5080), <c>Terminal:Image</c> (python:3.12-slim), <c>Terminal:Shell</c> (bash), and the options of Boxer in the section <c>Boxer</c>.
/// </summary>
internal static class TerminalApp
{
    internal static WebApplication Build(string[] args, Action<WebApplicationBuilder>? configure = null)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder(args);
        builder.WebHost.ConfigureKestrel(server => server.Listen(IPAddress.Loopback, builder.Configuration.GetValue("Terminal:Port", 5080)));
        configure?.Invoke(builder);
        builder.Services.AddBoxer(builder.Configuration.GetSection("Boxer"));
        builder.Services.AddSingleton<Shells>();

        WebApplication app = builder.Build();
        app.Use(OwnPage.CheckAsync);
        UsePage(app);
        app.UseWebSockets(new WebSocketOptions { KeepAliveInterval = TimeSpan.FromSeconds(15), KeepAliveTimeout = TimeSpan.FromSeconds(30) });
        app.Map("/terminal", TerminalSocket.ServeAsync);
        return app;
    }

    private static void UsePage(WebApplication app)
    {
        string folder = Path.Join(AppContext.BaseDirectory, "wwwroot");
        if (!File.Exists(Path.Join(folder, "xterm", "xterm.js")))
        {
            Log.NoEmulator(app.Logger);
        }

        SharedOptions files = new() { FileProvider = new PhysicalFileProvider(folder) };
        app.UseDefaultFiles(new DefaultFilesOptions(files));
        app.UseStaticFiles(new StaticFileOptions(files));
    }
}
