"""From signed deals to invoices, revenue and receipts: four clocks in every simulated future."""
