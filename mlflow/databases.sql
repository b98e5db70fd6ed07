-- Run once by a new PostgreSQL; MLflow's own database is made by POSTGRES_DB.
CREATE DATABASE prefect;
