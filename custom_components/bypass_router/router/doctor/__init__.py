"""Why a forward carries no traffic: what is measured, and what follows from it."""
