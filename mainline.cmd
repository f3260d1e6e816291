@echo off
rem The launcher for Windows: finds a Python and hands everything to `mainline`.
setlocal
where py >nul 2>nul
if %errorlevel%==0 goto launcher
where python >nul 2>nul
if %errorlevel%==0 goto python
echo mainline: no Python was found; Mainline needs Python 3.11 to 3.14. Install one. 1>&2
exit /b 2
:launcher
py -3 "%~dp0mainline" %*
exit /b %errorlevel%
:python
python "%~dp0mainline" %*
exit /b %errorlevel%
